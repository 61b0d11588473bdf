"""Start the segmentation node with a lane detector, a depth camera and a lidar around it.

ros2 launch seg_perception sensors.launch.py camera:=/front points:=/velodyne_points

An example to copy. What your vehicle lacks may stay: a topic without a publisher says nothing.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("seg_perception")

ARGUMENTS = (
    DeclareLaunchArgument(
        "camera",
        default_value="/camera/color",
        description="Namespace of the camera: its image_rect and camera_info are taken.",
    ),
    DeclareLaunchArgument(
        "depth",
        default_value="/camera/aligned_depth_to_color/image_raw",
        description="Topic of depth images, registered to that camera.",
    ),
    DeclareLaunchArgument(
        "points", default_value="/lidar/points", description="Topic of the lidar (PointCloud2)."
    ),
    DeclareLaunchArgument(
        "lane_mask", default_value="/lane_detector/mask", description="Topic of lane masks."
    ),
    DeclareLaunchArgument(
        "odometry", default_value="/odom", description="Topic of the vehicle's odometry."
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution([SHARE, "config", "sensors.yaml"]),
        description="YAML file that says where the sensors sit and how far they are trusted.",
    ),
    DeclareLaunchArgument(
        "rviz",
        default_value="false",
        description="Show overlay and mask.",
        choices=["true", "false"],
    ),
)


def generate_launch_description() -> LaunchDescription:
    segmentation = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([ThisLaunchFileDir(), "segmentation.launch.py"])
        ),
        launch_arguments={
            "image": [LaunchConfiguration("camera"), "/image_rect"],
            "camera_info": [LaunchConfiguration("camera"), "/camera_info"],
            "odometry": LaunchConfiguration("odometry"),
            "evidence_lane_mask": LaunchConfiguration("lane_mask"),
            "evidence_depth": LaunchConfiguration("depth"),
            "evidence_points": LaunchConfiguration("points"),
            "params_file": LaunchConfiguration("params_file"),
            "rviz": LaunchConfiguration("rviz"),
        }.items(),
    )
    return LaunchDescription([*ARGUMENTS, segmentation])
